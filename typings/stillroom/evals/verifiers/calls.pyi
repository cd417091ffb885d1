from evals.verifiers.calls import *
