"""Keep the queue: jobs, slots, who starts next, and how long everything takes."""
