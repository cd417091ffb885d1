from evals.verifiers.labels import *
