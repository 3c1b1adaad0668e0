"""What tests of all kinds share: homes, commands, waiting, small disks."""
