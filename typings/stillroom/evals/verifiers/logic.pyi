from evals.verifiers.logic import *
