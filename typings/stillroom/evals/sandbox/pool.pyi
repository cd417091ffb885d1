from evals.sandbox.pool import *
