from evals.verifiers.figures import *
