from cli.facts import *
