"""Touch the private parts of pytest, pytest-xdist and other plugins, here alone.

xdist_workers: processes of workers; xdist_session, worker_gateway: a session that becomes a
controller, and its forks that become workers; pytest_internals: reports; pytest_forks: what of
pytest a fork needs anew; other_plugins: silence them; plugin_state: which of them can be forked.
"""
