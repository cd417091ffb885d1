from evals.verifiers.languages import *
