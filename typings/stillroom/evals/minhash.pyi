from evals.minhash import *
