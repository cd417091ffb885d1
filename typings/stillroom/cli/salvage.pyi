from cli.salvage import *
