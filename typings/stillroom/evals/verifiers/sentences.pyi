from evals.verifiers.sentences import *
