from evals.proofs import *
