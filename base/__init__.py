"""What every layer stands on: errors, atomic files, manifests, progress, processes. It imports nothing of ours."""
