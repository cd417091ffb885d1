from evals.sandbox.filter import *
