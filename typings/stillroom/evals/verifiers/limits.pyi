from evals.verifiers.limits import *
