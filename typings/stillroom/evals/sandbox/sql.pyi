from evals.sandbox.sql import *
