from evals.pii import *
