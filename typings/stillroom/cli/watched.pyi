from cli.watched import *
