from evals.verifiers.equality import *
