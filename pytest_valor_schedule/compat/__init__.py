"""Touch the private parts of pytest, pytest-xdist and other plugins, here alone.

xdist_workers: processes of workers; pytest_internals: reports; other_plugins: silence them.
"""
