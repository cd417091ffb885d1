from cli.export import *
