"""The files that every job of several engines has, by name."""

#: In the folder itself: what is to be done.
PLAN = "plan.json"
#: In a side's folder, which is named after the engine: what its numbers depend on; why it ended
#: early; what its process printed; held by the process as long as it lives.
ENVIRONMENT, FAILURE = "environment.json", "failure.json"
OUTPUT, LOCK = "stderr.txt", ".lock"

#: What is there before anything is done.
BEGINNING = {PLAN, ENVIRONMENT, FAILURE, OUTPUT, LOCK}
