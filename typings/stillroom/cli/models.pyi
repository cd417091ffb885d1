from cli.models import *
