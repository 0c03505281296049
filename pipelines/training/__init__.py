"""The trainer's parts: options, optimizers, schedules, data order, states, devices, metrics, and the loop."""
