"""Start, fork, watch and end processes.

- `processes`: starting a process, and waiting for its end; `startup`: what a background process
  does first; `identity`: telling a process from a later one of the same number.
- `warm_pool`: a warm interpreter for each environment; `warm_interpreter`: one of them, which forks
  runners; `warm`: a job's pytest from what it has forked.
- `fork_client`: asking a fork server; `fork_server`: the server, run by its path; `fork_check`:
  whether a fork is like a start, and making it so; `proctitle`: its command and environment, as
  others see them.
- `shared_state`: what a process has that a fork would share with it, or lack.
- `kill`: finding and ending process trees; `death_pipe`: ending with the process one works for.
- `messages`: messages with descriptors over a socket.
- `memory`: what processes use; `stacks`: where a process hangs or crashed.
- `pump`: what a job prints, into its log; `pseudo_terminal`: the same, as at a terminal.
"""
