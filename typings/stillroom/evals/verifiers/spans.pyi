from evals.verifiers.spans import *
