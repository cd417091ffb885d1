from cli.job import *
