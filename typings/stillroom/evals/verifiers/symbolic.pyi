from evals.verifiers.symbolic import *
