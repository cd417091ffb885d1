from engines.local.signals import *
