"""The files of a comparison's folder, by name; each appears as a whole when its work is done."""

#: In the folder itself: what is done, the weights to start from, those that both sample with, how
#: far the layers are apart.
PLAN, START, TRAINED = "plan.json", "start.safetensors", "trained.safetensors"
LAYERS = "layers.json"
#: In a side's folder, which is named after the engine. TRAINED is there too: what it learned.
ENVIRONMENT, WEIGHTS, INSPECTION = "environment.json", "weights.json", "inspection.npz"
#: The steps; the memory that each turn of them took; that all are done; a step in its parts.
METRICS, TURNS, TRAINING, PHASES = "metrics.jsonl", "turns.json", "training.json", "phases.json"
#: Why it ended early; what its process printed; held by the process as long as it lives.
FAILURE, OUTPUT, LOCK = "failure.json", "stderr.txt", ".lock"

#: What is there before anything is measured.
BEGINNING = {PLAN, START, TRAINED, ENVIRONMENT, FAILURE, OUTPUT, LOCK}


def samples_file(eta: float) -> str:
    """Return the name of a side's file of sampled images."""
    return f"samples_eta{eta:g}.npz"


def cost_file(kind: str, batch_size: int) -> str:
    """Return the name of a side's file of timed calls."""
    return f"cost_{kind}_{batch_size}.json"
