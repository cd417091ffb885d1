from evals.sandbox.worker import *
