from evals.verifiers.patterns import *
