from engines.scripted import *
