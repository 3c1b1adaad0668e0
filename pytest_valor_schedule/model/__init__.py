"""Say what jobs, results, requests and commands are: frozen data, without effects."""
