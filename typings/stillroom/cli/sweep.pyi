from cli.sweep import *
