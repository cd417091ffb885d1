from cli.verbs import *
