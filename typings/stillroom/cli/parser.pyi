from cli.parser import *
