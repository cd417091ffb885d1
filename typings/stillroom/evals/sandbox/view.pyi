from evals.sandbox.view import *
