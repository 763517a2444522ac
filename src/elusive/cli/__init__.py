"""The command `elusive`: arguments come in, one function for each verb runs, text and an exit code go out."""
