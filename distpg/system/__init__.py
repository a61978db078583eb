"""What the machine is: numerics, processors and memory, signals, files, caches."""
