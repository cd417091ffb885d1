from evals.verifiers.instructions import *
