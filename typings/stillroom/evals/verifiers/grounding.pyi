from evals.verifiers.grounding import *
