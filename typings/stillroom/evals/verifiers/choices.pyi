from evals.verifiers.choices import *
