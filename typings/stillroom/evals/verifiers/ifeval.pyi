from evals.verifiers.ifeval import *
