from cli.emission import *
