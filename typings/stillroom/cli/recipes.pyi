from cli.recipes import *
