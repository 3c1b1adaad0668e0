"""Work inside the pytest of a job: in its controller and in its workers."""
