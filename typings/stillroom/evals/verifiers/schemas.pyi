from evals.verifiers.schemas import *
