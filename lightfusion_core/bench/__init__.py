"""Speed and memory of the engine, measured beside plain implementations: what `lightfusion bench` runs."""
