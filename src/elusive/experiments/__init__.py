"""Many runs as one: a recipe with alternatives comes in, trials are placed on devices, run and compared."""
