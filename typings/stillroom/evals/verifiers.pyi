from evals.verifiers import *
