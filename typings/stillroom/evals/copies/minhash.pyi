from evals.copies.minhash import *
