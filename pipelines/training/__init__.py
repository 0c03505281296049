"""The trainer's parts: configuration, optimizers, schedules, data order, state, devices, metrics. `pipelines.train` runs them."""
